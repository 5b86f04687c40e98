"""Draw the built-in set ``characters``: captioned pictures of six kinds of characters, in styles of DiceBear (CC0).

    pip install dicebear-core==10.7.0 dicebear-styles==10.6.0 resvg-py==0.5.0 pillow==13.0.0
    python -m scripts.make_characters FOLDER [--per-kind 4000] [--size 64] [--seed 0]

FOLDER gets images-NNN.webp (lossless mosaics of 1,000 pictures, 40 to a row), captions.jsonl (one object a picture, in
the order of the mosaics: its split, caption, attributes, and which of these the caption mentions as ``tells``) and
about.json (versions, licences, counts, vocabulary). The same arguments and versions give the same bytes.
``scripts/pack_characters.py`` makes of them the file that the package carries.

Splits: ``train``; ``test``, attributes that training does not show together; ``combos``, a kind in a colour or a part
in a colour that no training picture shows (`unseen`).
"""

import argparse
import hashlib
import io
import json
import random
import re
from importlib import metadata, resources
from itertools import cycle
from pathlib import Path

from PIL import Image

VERSION = 1
PER_ROW, PER_FILE = 40, 1000
PACKAGES = ("dicebear-core", "dicebear-styles", "resvg-py", "pillow", "numpy")
COLOURS = {
    "red": "#f2556a",
    "orange": "#fb9344",
    "yellow": "#fcd34d",
    "green": "#6ccf74",
    "turquoise": "#3fd0c9",
    "blue": "#6aa5ff",
    "purple": "#ab8ffa",
    "pink": "#f9a3d6",
    "white": "#f3f6fa",
    "brown": "#b47a50",
    "grey": "#98a3b0",
}
GROUNDS = {
    "black": "#15171c",
    "dark blue": "#1b3aa6",
    "teal": "#0f766e",
    "dark green": "#0b6436",
    "violet": "#6a25cf",
    "dark red": "#a81238",
    "pale pink": "#ffd2da",
    "light blue": "#bfe5f7",
    "cream": "#fbf0dc",
    "lavender": "#d3ccf7",
}
NIGHT = ("black", "dark blue", "teal", "dark green", "violet", "dark red")
HAIR = {
    "black": "#2c222b",
    "brown": "#7b4a2d",
    "blond": "#e9cf8d",
    "red": "#bf4a30",
    "purple": "#6d5acf",
    "green": "#3fb27f",
}
SKIN = {"pale": "#f5d0b0", "tan": "#d9a273", "brown": "#9a5a31", "dark": "#66391c"}
GLOW = {
    "blue": "#4cc3ff",
    "green": "#69db7c",
    "yellow": "#ffd43b",
    "red": "#ff6b6b",
    "pink": "#f08ff5",
    "white": "#fff8e6",
}
FACE_EYES = {
    "round": "bigPupils",
    "happy": "happy",
    "closed": "closedLine",
    "winking": "wink",
    "sleepy": "sleepy",
    "angry": "angry",
}
FACE_MOUTH = {
    "smile": "smile",
    "grin": "grin",
    "surprised": "ooh",
    "straight": "line",
    "frown": "frown",
    "tongue": "tongue",
    "wavy": "wavy",
}

# Of each kind: its DiceBear style; of each attribute the component that shows it, and its variant by value (None: the
# component is absent); `part`, the attribute of which pairs with the colour are unseen in training, and `never`, the
# colour in which the kind is.
FIGURES = {
    "monster": {
        "style": "critters",
        "part": "top",
        "never": "orange",
        "attrs": {
            "shape": (
                "body",
                {
                    "round": "round",
                    "square": "block",
                    "tall": "tower",
                    "squat": "squat",
                    "bell-shaped": "bell",
                    "pointed": "peak",
                    "stepped": "steps",
                },
            ),
            "top": (
                "top",
                {
                    "nothing": None,
                    "horns": "horns",
                    "spike": "spike",
                    "antenna": "antenna",
                    "two antennae": "antennae",
                    "round ears": "earsRound",
                    "pointed ears": "earsPointy",
                    "sprout": "sprout",
                    "bobble": "bobble",
                },
            ),
            "eyes": ("eyes", {**FACE_EYES, "one": "mono", "three": "trio", "four": "four", "squinting": "squint"}),
            "mouth": ("mouth", {**FACE_MOUTH, "teeth": "teeth", "zigzag": "zigzag"}),
        },
    },
    "plant": {
        "style": "sprouts",
        "part": "plant",
        "never": "turquoise",
        "attrs": {
            "shape": (
                "pot",
                {"tapered": "taper", "tall": "cylinder", "bowl": "bowl", "round": "round", "rimmed": "rim"},
            ),
            "plant": (
                "plant",
                {
                    "sprout": "sprout",
                    "leaf": "seedling",
                    "cactus": "cactus",
                    "succulent": "succulent",
                    "bush": "bush",
                    "flower": "flower",
                    "tulip": "tulip",
                    "palm": "palm",
                    "grass": "grass",
                },
            ),
            "eyes": ("eyes", FACE_EYES),
            "mouth": ("mouth", FACE_MOUTH),
        },
    },
    "person": {
        "style": "voxel-art",
        "part": "top",
        "never": "purple",
        "attrs": {
            "top": (
                "top",
                {
                    "bald": None,
                    "short hair": "short",
                    "spiky hair": "spiky",
                    "mohawk": "mohawk",
                    "buns": "buns",
                    "ponytail": "ponytail",
                    "long hair": "longStraight",
                    "afro": "afro",
                    "cap": "cap",
                    "beanie": "beanie",
                    "bunny ears": "bunnyEars",
                },
            ),
            "outfit": (
                "outfit",
                {
                    "shirt": "plain",
                    "striped shirt": "stripes",
                    "overalls": "overalls",
                    "coat": "coat",
                    "suit": "suit",
                    "dress": "dress",
                },
            ),
            "glasses": ("glasses", {"none": None, "round": "round", "sunglasses": "shades", "visor": "visor"}),
            "beard": ("beard", {"none": None, "beard": "full", "moustache": "mustache"}),
        },
    },
    "robot": {
        "style": "voxel-bot",
        "part": "top",
        "never": "red",
        "attrs": {
            "top": (
                "top",
                {
                    "nothing": None,
                    "antenna": "antenna",
                    "two antennae": "twin",
                    "dish": "dish",
                    "fin": "fin",
                    "light bar": "lightbar",
                    "siren": "siren",
                },
            ),
            "eyes": (
                "eyes",
                {
                    "round": "round",
                    "square": "square",
                    "visor": "visor",
                    "one": "cyclops",
                    "happy": "happy",
                    "sleepy": "sleepy",
                    "plus": "plus",
                },
            ),
            "mouth": ("mouth", {"grill": "grill", "straight": "line", "smile": "smile", "zigzag": "zigzag"}),
            "chest": (
                "chest",
                {
                    "plain": None,
                    "buttons": "buttons",
                    "vents": "vents",
                    "screen": "screen",
                    "heart": "heart",
                    "dial": "dial",
                },
            ),
        },
    },
    "planet": {
        "style": "planets",
        "part": "surface",
        "never": "green",
        "attrs": {
            "surface": (
                "surface",
                {
                    "smooth": None,
                    "striped": "banded",
                    "cratered": "cratered",
                    "swirled": "swirl",
                    "continents": "terra",
                    "cracked": "cracked",
                },
            ),
            "ring": ("ring", {"none": None, "thin": "thin", "wide": "bold"}),
            "moons": ("moons", {"none": None, "one": "one", "two": "two"}),
        },
    },
    "face": {
        "style": "moods",
        "part": "eyes",
        "never": "pink",
        "attrs": {
            "shape": (
                "face",
                {"round": "circle", "square": "squircle", "wide": "wide", "tall": "tall", "lopsided": "blob"},
            ),
            "eyes": ("eyes", {**FACE_EYES, "closed": "closed", "squinting": "squint"}),
            "mouth": (
                "mouth",
                {
                    "smile": "smile",
                    "grin": "bigSmile",
                    "surprised": "open",
                    "straight": "line",
                    "frown": "frown",
                    "tongue": "tongue",
                    "wavy": "wavy",
                    "teeth": "teeth",
                },
            ),
        },
    },
}
BARE = {"nothing", "bald"}
HATS = {"cap", "beanie", "bunny ears"}
BLOOMS = {"flower", "tulip"}
NAMES = list(COLOURS)


def attributes_of(kind: str, rng: random.Random) -> dict[str, str]:
    """The attributes of one picture, each value equally likely."""
    k = FIGURES[kind]
    a = {
        "kind": kind,
        "color": rng.choice(NAMES),
        "background": rng.choice(NIGHT if kind == "planet" else list(GROUNDS)),
    }
    for name, (_, values) in k["attrs"].items():
        a[name] = rng.choice(list(values))
    others = [c for c in NAMES if c != a["color"]]
    if kind == "monster" and a["top"] not in BARE:
        a["top_color"] = rng.choice(others)
    if kind == "plant" and a["plant"] in BLOOMS:
        a["bloom_color"] = rng.choice(["red", "orange", "yellow", "purple", "pink", "white", "blue"])
    if kind == "robot":
        a["glow"] = rng.choice(list(GLOW))
    if kind == "person":
        a["skin"] = rng.choice(list(SKIN))
        if a["top"] in HATS:
            a["top_color"] = rng.choice(others)
        elif a["top"] not in BARE:
            a["hair_color"] = rng.choice(list(HAIR))
    return a


def unseen(a: dict[str, str]) -> str | None:
    """Why training must not show these attributes: "kind-colour", "colour-part" or None."""
    k = FIGURES[a["kind"]]
    if a["color"] == k["never"]:
        return "kind-colour"
    return (
        "colour-part"
        if (NAMES.index(a["color"]) + 3 * list(k["attrs"][k["part"]][1]).index(a[k["part"]])) % 9 == 0
        else None
    )


def _a(s: str) -> str:
    return ("an " if s[0] in "aeiou" else "a ") + s


EYES = {
    "round": ["big round eyes", "round eyes"],
    "happy": ["happy eyes", "smiling eyes"],
    "closed": ["closed eyes", "eyes closed"],
    "winking": ["a wink", "one eye winking"],
    "sleepy": ["sleepy eyes", "tired eyes"],
    "angry": ["angry eyes", "an angry look"],
    "one": ["one eye", "a single eye"],
    "three": ["three eyes"],
    "four": ["four eyes"],
    "squinting": ["squinting eyes", "eyes squeezed shut"],
    "square": ["square eyes"],
    "visor": ["a visor", "a visor for eyes"],
    "plus": ["plus-shaped eyes", "eyes like plus signs"],
}
MOUTH = {
    "smile": ["a smile", "a smiling mouth"],
    "grin": ["a big grin", "a wide open grin"],
    "surprised": ["a surprised mouth", "an open round mouth"],
    "straight": ["a straight mouth", "a flat mouth"],
    "frown": ["a frown", "a sad mouth"],
    "tongue": ["its tongue out", "a tongue sticking out"],
    "wavy": ["a wavy mouth", "a wobbly mouth"],
    "teeth": ["teeth showing", "a toothy mouth"],
    "zigzag": ["a zigzag mouth"],
    "grill": ["a grill mouth", "a mouth grill"],
}
TOP = {
    "nothing": ["nothing on its head", "a bare head"],
    "spike": ["{c} spike"],
    "antenna": ["{c} antenna"],
    "sprout": ["{c} sprout on its head"],
    "bobble": ["{c} bobble on top", "{c} bobble"],
    "fin": ["fin on its head"],
    "dish": ["dish on its head", "satellite dish"],
    "light bar": ["light bar on its head", "light bar"],
    "siren": ["siren on its head", "siren"],
}
PLURAL = {"horns", "two antennae", "round ears", "pointed ears"}
PLANT = {
    "sprout": ["a sprout", "a small sprout"],
    "leaf": ["a single leaf", "one big leaf"],
    "cactus": ["a cactus"],
    "succulent": ["a succulent", "a spiky succulent"],
    "bush": ["a bush", "a round bush"],
    "flower": ["{c} flower"],
    "tulip": ["{c} tulip"],
    "palm": ["a palm tree", "a little palm"],
    "grass": ["grass", "blades of grass"],
}
HEAD = {
    "bald": ["no hair", "a bald head"],
    "short hair": ["short {c} hair"],
    "spiky hair": ["spiky {c} hair"],
    "mohawk": ["a {c} mohawk"],
    "buns": ["{c} hair in two buns", "two {c} hair buns"],
    "ponytail": ["a {c} ponytail"],
    "long hair": ["long {c} hair"],
    "afro": ["a {c} afro"],
    "cap": ["a {c} cap"],
    "beanie": ["a {c} beanie", "a {c} woolly hat"],
    "bunny ears": ["{c} bunny ears", "a {c} hat with bunny ears"],
}
CHEST = {
    "plain": ["a plain chest"],
    "buttons": ["buttons on its chest"],
    "vents": ["vents on its chest"],
    "screen": ["a screen on its chest"],
    "heart": ["a heart on its chest"],
    "dial": ["a dial on its chest"],
}
SURFACE = {"smooth": "smooth", "striped": "striped", "cratered": "cratered", "swirled": "swirled", "cracked": "cracked"}
GLASSES = {
    "none": ["no glasses"],
    "round": ["round glasses", "glasses"],
    "sunglasses": ["sunglasses", "dark sunglasses"],
    "visor": ["a visor", "a blue visor"],
}
BEARD = {"none": ["no beard"], "beard": ["a beard", "a full beard"], "moustache": ["a moustache"]}
NOUN = {
    "monster": ["monster", "monster", "creature"],
    "robot": ["robot", "robot", "blocky robot"],
    "planet": ["planet"],
    "face": ["face", "face", "cartoon face"],
    "person": ["person", "blocky person", "character"],
    "plant": ["pot", "flower pot"],
}


def describe(a: dict[str, str], rng: random.Random, tell: float = 0.75) -> tuple[str, list[str]]:
    """A caption of a picture of attributes ``a``, and which of them it mentions; each is with probability ``tell``."""
    k = a["kind"]
    mentioned = ["kind"]

    def mention(n, p=tell):
        return n in a and rng.random() < p and (mentioned.append(n) or True)

    def one(t, **kw):
        return rng.choice(t).format(**kw)

    feats: list[str] = []
    adj = ""
    noun = rng.choice(NOUN[k])
    color = a["color"] if mention("color", max(tell, 0.9)) else ""

    def coloured(t, c):
        return _a((t.format(c=c) if "{c}" in t else f"{t}").strip().replace("  ", " "))

    if k in ("monster", "robot", "face", "plant"):
        if "shape" in a and k != "plant" and mention("shape", tell * 0.7):
            adj = a["shape"]
        if mention("eyes"):
            feats.append(one(EYES[a["eyes"]]))
        if mention("mouth"):
            feats.append(one(MOUTH[a["mouth"]]))
    if k in ("monster", "robot") and (a["top"] != "nothing" or rng.random() < 0.5) and mention("top"):
        t = a["top"]
        c = a["top_color"] + " " if "top_color" in a and mention("top_color", 0.85) else ""
        if t in PLURAL:
            feats.append(t.replace("two ", "two " + c) if t.startswith("two") else c + t)
        elif t == "nothing":
            feats.append(one(TOP[t]))
        else:
            feats.append(coloured(rng.choice(TOP[t]), c))
    if k == "robot":
        if mention("glow"):
            w = [
                i
                for i, f in enumerate(feats)
                if f in ("square eyes", "round eyes", "big round eyes", "happy eyes", "sleepy eyes", "plus-shaped eyes")
            ]
            if w and rng.random() < 0.6:
                feats[w[0]] = "glowing " + a["glow"] + " " + feats[w[0]].replace("big ", "")
            else:
                feats.append(f"{a['glow']} lights" if rng.random() < 0.5 else f"{a['glow']} glowing lights")
        if (a["chest"] != "plain" or rng.random() < 0.3) and mention("chest"):
            feats.append(one(CHEST[a["chest"]]))
    if k == "planet":
        if mention("surface"):
            if a["surface"] == "continents":
                feats.append(rng.choice(["continents", "continents and seas"]))
            else:
                adj = SURFACE[a["surface"]]
        if mention("ring"):
            feats.append(
                {
                    "none": rng.choice(["no ring", "no rings"]),
                    "thin": "a thin ring",
                    "wide": rng.choice(["a wide ring", "a thick ring"]),
                }[a["ring"]]
            )
        if mention("moons"):
            feats.append({"none": "no moon", "one": rng.choice(["one moon", "a moon"]), "two": "two moons"}[a["moons"]])
    if k == "plant":
        p = None
        if mention("plant", max(tell, 0.85)):
            t = a["plant"]
            c = a["bloom_color"] + " " if "bloom_color" in a and mention("bloom_color", 0.85) else ""
            p = coloured(rng.choice(PLANT[t]), c) if t in BLOOMS else one(PLANT[t])
        sh = a["shape"] if mention("shape", tell * 0.6) else ""
        pot = (
            {"bowl": f"{color} bowl", "rimmed": f"{color} {noun} with a rim"}.get(sh, f"{sh} {color} {noun}")
            .strip()
            .replace("  ", " ")
        )
        base = f"{p} in {_a(pot)}" if p else _a(rng.choice([pot + " with a plant", "plant in " + _a(pot)]))
        adj = None
    if k == "person":
        if mention("skin", tell * 0.7):
            adj = a["skin"] + "-skinned" if a["skin"] != "tan" else "tanned"
        if (a["top"] != "bald" or rng.random() < 0.7) and mention("top"):
            key = "top_color" if a["top"] in HATS else "hair_color"
            c = a[key] if key in a and mention(key, 0.85) else ""
            feats.append(one(HEAD[a["top"]], c=c).replace("  ", " ").replace("a orange", "an orange"))
        if mention("outfit") or color:
            o = a["outfit"] if "outfit" in mentioned else rng.choice(["clothes", "outfit"])
            feats.append((f"{color} {o}" if o in ("overalls", "clothes") else _a(f"{color} {o}".strip())).strip())
        if (a["glasses"] != "none" or rng.random() < 0.15) and mention("glasses"):
            feats.append(one(GLASSES[a["glasses"]]))
        if (a["beard"] != "none" or rng.random() < 0.15) and mention("beard"):
            feats.append(one(BEARD[a["beard"]]))
        base = _a(f"{adj} {noun}".strip())
    elif k != "plant":
        little = "little " if k in ("monster", "robot") and rng.random() < 0.25 else ""
        base = (
            _a(little + (f"{adj} {color}" if rng.random() < 0.8 else f"{color} {adj}").strip() + " " + noun)
            .replace("a  ", "a ")
            .replace("  ", " ")
        )
    base = base.replace("  ", " ")
    rng.shuffle(feats)
    if base[:2] == "a " and base[2:3] in "aeiou":
        base = "an " + base[2:]
    g = a["background"]
    ground = ""
    if mention("background"):
        ground = f"a {g} sky" if k == "planet" and rng.random() < 0.5 else f"{_a(g)} background"

    def join(f):
        return f[0] if len(f) == 1 else ", ".join(f[:-1]) + " and " + f[-1]

    form = rng.random()
    if form < 0.55 or not feats:
        s = (
            base
            + (" with " if k != "plant" or not base.endswith("with a rim") else ", ") * bool(feats)
            + (join(feats) if feats else "")
            + (rng.choice([" on ", " on ", " in front of "]) + ground if ground else "")
        )
    elif form < 0.8:
        s = ", ".join([base] + feats + ([ground.split(" ", 1)[1]] if ground else []))
    elif form < 0.9 and ground:
        s = f"on {ground}, {base} with {join(feats)}"
    else:
        s = (
            rng.choice(["a picture of ", "a drawing of ", "an icon of "])
            + base
            + ". It has "
            + join(feats)
            + ("." if not ground else f". The background is {g}.")
        )
    return re.sub(r"\ba (?=[aeiou])", "an ", " ".join(s.split())), mentioned


class Painter:
    """Draws pictures of one size; ``licences``: of each style."""

    def __init__(self, size: int) -> None:
        from dicebear import Style

        self.size = size
        self.styles = {}
        self.licences = {}
        for kind, k in FIGURES.items():
            d = json.loads(resources.files("dicebear_styles").joinpath(k["style"] + ".json").read_text("utf-8"))
            lic = d["meta"]["license"]
            if not lic["name"].startswith("CC0"):
                raise SystemExit(f"{k['style']} is {lic['name']}, not CC0")
            self.styles[kind] = Style(d)
            self.licences[k["style"]] = dict(lic, creator=d["meta"].get("creator"), kind=kind)

    def options(self, a: dict[str, str], seed: str) -> dict:
        """What DiceBear is given for a picture of attributes ``a``; the rest it takes from ``seed``."""
        k = FIGURES[a["kind"]]
        c = COLOURS[a["color"]]
        o = {"seed": seed, "size": self.size, "backgroundColor": [GROUNDS[a["background"]]]}
        for name, (comp, values) in k["attrs"].items():
            v = values[a[name]]
            if v is None:
                o[comp + "Probability"] = 0
            else:
                o[comp + "Variant"] = [v]
                if comp in ("top", "surface", "ring", "moons", "glasses", "beard", "chest"):
                    o[comp + "Probability"] = 100
        top = COLOURS[a.get("top_color", "grey")]
        kind = a["kind"]
        if kind == "monster":
            o |= {"bodyColor": [c], "accentColor": [top], "patternProbability": 0, "cheeksProbability": 0}
        if kind == "plant":
            o |= {
                "potColor": [c],
                "bloomColor": [COLOURS[a.get("bloom_color", "yellow")]],
                "plantColor": ["#4ade80", "#22c55e", "#34d399"],
                "patternProbability": 0,
                "cheeksProbability": 0,
            }
        if kind == "robot":
            o |= {
                "bodyColor": [c],
                "glowColor": [GLOW[a["glow"]]],
                "screenColor": ["#161a21"],
                "accentColor": ["#343a40"],
            }
        if kind == "planet":
            o |= {"planetColor": [c], "moonColor": ["#d3d7e2"], "shadeVariant": ["soft"]}
        if kind == "face":
            o |= {"faceColor": [c], "cheeksProbability": 0}
        if kind == "person":
            o |= {
                "shirtColor": ["#f8f9fa" if a["outfit"] == "suit" else c],
                "jacketColor": [c],
                "pantsColor": [c if a["outfit"] == "overalls" else "#3b4a6b"],
                "skinColor": [SKIN[a["skin"]]],
                "hairColor": [HAIR[a.get("hair_color", "black")]],
                "hatColor": [top],
                "eyesVariant": ["open"],
                "mouthVariant": ["smile"],
                "cheeksProbability": 0,
                "eyebrowsVariant": ["flat"],
                "noseVariant": ["small"],
                "shoesColor": ["#343a40"],
            }
            if a["outfit"] == "overalls":
                o["shirtColor"] = ["#f8f9fa"]
        return o

    def paint(self, a: dict[str, str], seed: str) -> Image.Image:
        """The picture, RGB."""
        import resvg_py
        from dicebear import Avatar

        svg = Avatar(self.styles[a["kind"]], self.options(a, seed)).to_string()
        png = resvg_py.svg_to_bytes(svg_string=svg, width=self.size, height=self.size, skip_system_fonts=True)
        return Image.open(io.BytesIO(bytes(png))).convert("RGB")


def split_of(a: dict[str, str]) -> str:
    """One in twenty of the sets of attributes that training may show is for tests."""
    if unseen(a):
        return "combos"
    digest = hashlib.sha256(json.dumps(a, sort_keys=True).encode()).hexdigest()
    return "test" if int(digest, 16) % 20 == 0 else "train"


def draw_set(painter: Painter, per_kind: int, seed: int) -> tuple[list[tuple[dict, bytes]], int]:
    """``per_kind`` different pictures of each kind, one in eight of them unseen combinations, with what is known of
    each, and how many were equal to one before and are left out. Kinds take turns, so that any first ones are mixed.
    """
    hard = round(per_kind / 8)
    wanted = {(kind, is_hard): hard if is_hard else per_kind - hard for kind in FIGURES for is_hard in (True, False)}
    rows, seen, dropped = [], set(), 0
    for n, kind in enumerate(cycle(FIGURES), start=1):
        if not any(wanted.values()):
            break
        rng = random.Random(f"characters/{seed}/{n}")
        a = attributes_of(kind, rng)
        why = unseen(a)
        if not wanted[kind, why is not None]:
            continue
        pixels = painter.paint(a, f"{seed}-{n}").tobytes()
        digest = hashlib.sha256(pixels).digest()
        if digest in seen:
            dropped += 1
            continue
        seen.add(digest)
        wanted[kind, why is not None] -= 1
        caption, mentioned = describe(a, rng)
        row = {"split": split_of(a), "caption": caption, "tells": mentioned, "attrs": a}
        rows.append(({**row, "unseen": why} if why else row, pixels))
    return rows, dropped


def main() -> None:
    """Draw the set."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--per-kind", type=int, default=4000)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    painter = Painter(options.size)
    rows, dropped = draw_set(painter, options.per_kind, options.seed)
    splits, variants, size = ["train", "test", "combos"], list(FIGURES), options.size
    rows.sort(key=lambda row: splits.index(row[0]["split"]))
    sizes = {}
    for first in range(0, len(rows), PER_FILE):
        part = rows[first : first + PER_FILE]
        # In a mosaic alike pictures stand together, which makes smaller files.
        part.sort(key=lambda row: (splits.index(row[0]["split"]), *_likeness(row[0]["attrs"], variants)))
        rows[first : first + PER_FILE] = part
        mosaic = Image.new("RGB", (PER_ROW * size, -(-len(part) // PER_ROW) * size))
        for j, (_, pixels) in enumerate(part):
            place = (j % PER_ROW * size, j // PER_ROW * size)
            mosaic.paste(Image.frombytes("RGB", (size, size), pixels), place)
        file = options.folder / f"images-{first // PER_FILE:03d}.webp"
        mosaic.save(file, lossless=True, quality=100, method=4, exact=True)
        sizes[file.name] = file.stat().st_size
    lines = [json.dumps({"i": i, **row}) + "\n" for i, (row, _) in enumerate(rows)]
    (options.folder / "captions.jsonl").write_text("".join(lines))
    vocabulary: dict[str, set[str]] = {}
    for row, _ in rows:
        for name, value in row["attrs"].items():
            vocabulary.setdefault(name, set()).add(value)
    about = {
        "name": "characters",
        "version": VERSION,
        "seed": options.seed,
        "size": size,
        "per_row": PER_ROW,
        "per_file": PER_FILE,
        "count": {split: sum(row["split"] == split for row, _ in rows) for split in splits},
        "duplicates_dropped": dropped,
        "bytes": sizes,
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "styles": painter.licences,
        "never": {kind: known["never"] for kind, known in FIGURES.items()},
        "part": {kind: known["part"] for kind, known in FIGURES.items()},
        "vocabulary": {name: sorted(values) for name, values in vocabulary.items()},
    }
    (options.folder / "about.json").write_text(json.dumps(about, indent=1) + "\n")
    print(about["count"], f"{dropped} duplicates left out, {sum(sizes.values())} bytes")


def _likeness(a: dict[str, str], variants: list[str]) -> tuple[int, str]:
    return variants.index(a["kind"]), a["background"]


if __name__ == "__main__":
    main()
