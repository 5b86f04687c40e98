"""How far the methods for inverse problems are from the exact posterior, on data where that is known.

    python -m benchmarks.restoration_bias      (from the root of the repository)

For each method and case: the error of the mean in standard deviations of the posterior, and by which factor the
standard deviation is too large (for several elements: the smallest and the largest over all directions). The denoiser
is exact, so all error is the method's, but for what 200 steps of ancestral sampling leave: the first row.
"""

import torch

from tests.restoration_targets import table

if __name__ == "__main__":
    torch.set_num_threads(1)
    print(table())
