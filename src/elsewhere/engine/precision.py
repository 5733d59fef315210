"""How exact the kernels are, in one place."""

from __future__ import annotations

# Largest rounding error of a log-weight, in nats, at which float32 is still used.
ROUNDING = 1e-4
# Tolerance of x0hat, in units of [-1, 1], from which on queries may be quantised to 16 bits.
COARSE = 1e-3
# Error that quantised queries may make, as a share of the tolerance.
RESOLVED = 0.2
