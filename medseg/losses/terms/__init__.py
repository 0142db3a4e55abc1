"""The terms of the sum, one family a file; their names stand in `medseg.losses.TERMS`."""
