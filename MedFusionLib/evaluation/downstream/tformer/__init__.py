"""TFormer, a network that predicts a class from two images of one place."""
