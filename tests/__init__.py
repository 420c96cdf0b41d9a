"""The doubters, part by part: one folder for each package of the product, and one for each kind of real server."""
