"""Ordinary traffic in bulk: real programs and libraries talk through a gateway, every flow's kind known beforehand.

`plan` says who does what (pure: same seed, same plan), `servers` and `serve` answer, `clients` and `programs` ask,
`truth` lists the flows of what was recorded, `run` holds it together. Start it with
`sudo .venv/bin/python -m middlebox.lab.ordinary --flows 5000 --seed 1 --out DIRECTORY`.
"""
