"""Scripts run on this repository by hand or by `make`, never by a stack."""
