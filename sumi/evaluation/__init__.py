"""How good is the model: samples measured against real images that the model has not seen.

``summary.evaluate`` gives all figures at once and ``summary.verdict`` says them in words; ``report.write_report`` makes
the page. Each measure is usable alone: ``features`` (the space to measure in), ``kernel_distance``, ``frechet``,
``classes``, ``memorization``; ``intervals`` says how sure a figure is, ``pictures`` and ``charts`` draw.
"""
