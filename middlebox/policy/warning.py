"""The linter's warnings by their stable ids: what waivers name and docs/policy.md explains.

Rule of this file: an id never changes its meaning and is never used again for another.
"""

from types import MappingProxyType

WARNINGS = MappingProxyType(
    {
        "unreachable-rule": "A rule above decides every flow that this one would. Move it up or remove it.",
        "impossible-condition": "The tests of a condition exclude each other: the rule never matches.",
        "confidence-unreachable": "No detector of these protocols ever reaches the level: the rule never matches.",
        "protocol-without-detector": "Nothing recognises the protocol that is named.",
        "schedule-past": "The schedule is over: its rules are never in force again.",
        "schedule-unused": "No rule names the schedule in `during`.",
        "approval-expired": "The approval is over: its tunnel counts as any other.",
        "approval-expires-soon": "The approval ends within 30 days.",
        "list-overlap": "Entries of a list that others of the same list cover: they may go.",
        "public-suffix": "A domain under which everybody registers (`com`, `co.uk`): the rule is for half the world.",
        "list-unused": "No condition uses the list.",
        "client-group-unused": "No condition uses the client group.",
        "kernel-feature": "An action needs what this machine lacks.",
        "dns-action-late": "A `dns` rule that can only be decided when the real answer has passed.",
        "residual-never": "A `residual` that never begins, because the rule or the policy only records.",
        "no-home": "The policy refuses, and no `home` says for whom: a mistake hits every flow there is.",
        "waiver-unused": "A waiver that waives nothing.",
    }
)
"Id to meaning."

NOTES = MappingProxyType(
    {
        "count-cost": "A condition on counts keeps flows in user space until it is decided.",
        "not-checked": "Something could not be checked here, for instance kernel features without root.",
    }
)
"What is good to know and asks for nothing: id to meaning. Notes never change the exit status."
