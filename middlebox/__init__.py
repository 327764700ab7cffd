"""middlebox: an inline traffic classifier and policy engine for one network's own gateway and lab."""

__version__ = "0.1.0"
