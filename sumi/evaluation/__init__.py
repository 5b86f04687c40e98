"""How good a model is: samples against held-out real images (``images``), sweeps over the sampler (``sweeps``) and over
guidance (``guidance``), solvers compared (``solvers``). The measures themselves are in `sumi.metrics`, the feature
spaces in `sumi.metrics.features`, and the report in `sumi.report`.
"""
