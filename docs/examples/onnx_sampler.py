"""Sample an exported run with NumPy and ONNX Runtime alone: python onnx_sampler.py MODEL.onnx -n 16 --out made.

The file says what a sampler must know: rows of t, alpha, sigma, c_in, c_skip, c_out, c_noise from noise to data. A step
is x̂_0 = c_skip x + c_out F(c_in x, c_noise), ε̂ = (x - alpha x̂_0)/sigma, x ← alpha' x̂_0 + sigma' ε̂ (DDIM).
"""

import argparse
import json
import struct
import zlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnxruntime

parser = argparse.ArgumentParser()
parser.add_argument("model", type=Path)
parser.add_argument("-n", type=int, default=16)
parser.add_argument("--steps", type=int, default=20)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--label", help="name of a class")
parser.add_argument("--guidance", type=float, default=1.0, help="1: none")
parser.add_argument("--out", type=Path, default=Path("made"))
options = parser.parse_args()

session = onnxruntime.InferenceSession(options.model)
about = json.loads(session.get_modelmeta().custom_metadata_map["sumi"])
types = {i.name: np.int64 if "int64" in i.type else np.float32 for i in session.get_inputs()}
null = {name: np.array([value] * options.n, types[name]) for name, value in about["null"].items()}
given = dict(null)
if options.label is not None:
    given["labels"] = np.full(options.n, about["classes"].index(options.label))


def network(x, c_noise, condition):
    inputs = {"x": x, "c_noise": np.full(len(x), c_noise, np.float32), **condition}
    output = session.run(None, {name: inputs[name] for name in types})[0]
    return output[:, : x.shape[1]]  # the rest is a learned variance


table = np.array(about["table"])
rows = table[np.linspace(0, len(table) - 1, options.steps + 1).round().astype(int)]
x = np.random.default_rng(options.seed).standard_normal((options.n, *about["shape"]), np.float32)
x *= np.sqrt(rows[0, 1] ** 2 * about["data_std"] ** 2 + rows[0, 2] ** 2).astype(np.float32)
np.save(options.out.with_suffix(".noise.npy"), x)
for (_, alpha, sigma, c_in, c_skip, c_out, c_noise), (_, alpha_next, sigma_next, *_) in pairwise(rows):
    outputs = [network((c_in * x).astype(np.float32), c_noise, given)]
    if options.guidance != 1:
        outputs.append(network((c_in * x).astype(np.float32), c_noise, null))
    clean = [c_skip * x + c_out * output for output in outputs]
    x_0 = clean[-1] + options.guidance * (clean[0] - clean[-1]) if len(clean) > 1 else clean[0]
    x_0 = x_0.clip(-1, 1) if about["clamp"] else x_0
    x = alpha_next * x_0 + sigma_next * (x - alpha * x_0) / sigma
decoder = options.model.with_suffix(".decoder.onnx")
if decoder.exists():
    x = onnxruntime.InferenceSession(decoder).run(None, {"z": x.astype(np.float32)})[0]
np.save(options.out.with_suffix(".npy"), x.clip(-1, 1).astype(np.float32))
pixels = ((x.clip(-1, 1) + 1) * 127.5).round().astype(np.uint8)  # (N, C, H, W), side by side:
pixels = np.repeat(pixels, 3, 1) if pixels.shape[1] == 1 else pixels[:, :3]
sheet = np.concatenate(list(pixels.transpose(0, 2, 3, 1)), 1)
lines = b"".join(b"\0" + line.tobytes() for line in sheet)
head = struct.pack(">IIBBBBB", sheet.shape[1], sheet.shape[0], 8, 2, 0, 0, 0)
parts = [(b"IHDR", head), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
chunks = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts)
options.out.with_suffix(".png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
