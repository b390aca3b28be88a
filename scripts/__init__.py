"""What is run on this repository by hand or by `make`, and by no stack."""
