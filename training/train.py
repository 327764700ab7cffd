"""Trains every model and writes its module, its card and its picture. `make models` calls this."""

import noise
from common import Training, rows

TRAININGS: tuple[Training, ...] = (noise.run,)
"One line each."

if __name__ == "__main__":
    flows = rows()
    for one in TRAININGS:
        one(flows)
