"""The lab: real clients and servers around a real gateway, and a judge that compares what happened with what should.

Rule of this package: nothing it makes outlives the run, and nothing in it can reach beyond its own networks.
"""
