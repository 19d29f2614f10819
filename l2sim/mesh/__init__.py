"""Which couplers make a mesh and which matrix is it: layouts, decompositions, styles. Knows no chip."""
