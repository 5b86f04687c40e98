"""Make ``spoken_digits.npz`` of the Free Spoken Digit Dataset: ``python -m scripts.pack_spoken_digits fsdd.npz``.

``fsdd.npz``: the recordings as `sumi.data.clips` reads them. Taken are takes 0 and 1, which are of the set's own test,
and 5 to 16; of each recording at most 0.64 seconds.
"""

import lzma
import sys

import numpy as np

from sumi.data.builtin.spoken_digits import FILE, companded

TAKES = (0, 1, *range(5, 17))
LONGEST = 5120


def main() -> None:
    with np.load(sys.argv[1], allow_pickle=False) as file:
        parts = {name: file[name] for name in file.files}
    chosen = np.flatnonzero(np.isin(parts["take"], TAKES))
    starts, ends = parts["offsets"][chosen], parts["offsets"][chosen + 1]
    ends = np.minimum(ends, starts + LONGEST)
    samples = np.concatenate([parts["samples"][a:b] for a, b in zip(starts, ends, strict=True)])
    packed = lzma.compress(companded(samples).tobytes(), preset=9 | lzma.PRESET_EXTREME)
    np.savez(
        FILE,
        packed=np.frombuffer(packed, np.uint8),
        offsets=np.concatenate([[0], np.cumsum(ends - starts)]).astype(np.int64),
        **{name: parts[name][chosen].astype(np.uint8) for name in ("digit", "speaker", "take")},
        speaker_names=parts["speaker_names"],
    )
    print(f"{FILE}: {len(chosen)} recordings, {FILE.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
