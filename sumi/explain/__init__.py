"""Figures that explain a schedule, the forward process on real images, and a run's reverse process.

Each file draws one figure and states its main number in one line.
"""
