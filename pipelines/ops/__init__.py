"""Plain functions on images and rows; no Ray, so that each is tested as a function."""
