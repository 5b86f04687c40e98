"""Figures that explain: a schedule, the forward process on real images, the reverse process of a run.

Each file draws one figure and states, in a line, the number that it shows.
"""
