#!/usr/bin/env python3
"""Image files made by Pillow, what Pillow makes of them, and a list of both: tests/pillow.py FOLDER

cases.json has an object a file: file, mode (of ours), width, height, raw (the pixels), exact (a lossless format), and an
object a resize: raw, mode, width, height, filter, to (width, height), result.
"""

import json
import sys
from pathlib import Path

from PIL import Image, ImageOps

FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos3": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
}
MODES = {"L": "L", "LA": "LA", "RGB": "RGB", "RGBA": "RGBA", "I;16": "L16"}


def photo(size):
    """The photo of a cup, which has smooth parts and edges."""
    path = Path(__file__).resolve().parent.parent / "sql" / "data" / "photos" / "coffee.jpg"
    return Image.open(path).convert("RGB").resize(size, Image.Resampling.LANCZOS)


def with_alpha(image):
    image = image.copy()
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


def files(folder):
    rgb = photo((173, 131))
    rgba, grey = with_alpha(rgb), rgb.convert("L")
    la = rgba.convert("LA")
    deep = Image.frombytes("I;16", grey.size, b"".join(bytes([i % 256, v]) for i, v in enumerate(grey.tobytes())))
    cmyk = rgb.convert("CMYK")
    lossless = [
        ("L.png", grey, {}),
        ("LA.png", la, {}),
        ("RGB.png", rgb, {}),
        ("RGBA.png", rgba, {}),
        ("L16.png", deep, {}),
        ("1.png", grey.convert("1"), {}),
        ("P.png", rgb.quantize(200), {}),
        ("P-transparent.png", rgb.quantize(16), {"transparency": 3}),
        ("L.tiff", grey, {}),
        ("RGB.tiff", rgb, {}),
        ("RGBA.tiff", rgba, {}),
        ("L16.tiff", deep, {}),
        *((f"RGB-{c}.tiff", rgb, {"compression": c}) for c in ("tiff_lzw", "tiff_adobe_deflate", "packbits")),
        ("1-fax.tiff", grey.convert("1"), {"compression": "group4"}),
        ("1.tiff", grey.convert("1"), {"compression": "tiff_lzw"}),
        ("P.tiff", rgb.quantize(200), {}),
        ("P-lzw.tiff", rgb.quantize(16), {"compression": "tiff_lzw"}),
        ("LA.tiff", la, {}),
        ("RGBA-predicted.tiff", rgba, {"compression": "tiff_lzw", "tiffinfo": {317: 2}}),
        ("RGB-tiles.tiff", rgb, {"tiffinfo": {322: 64, 323: 64}, "compression": "tiff_lzw"}),
        ("CMYK.tiff", cmyk, {}),
        ("L.bmp", grey, {}),
        ("RGB.bmp", rgb, {}),
        ("P.bmp", rgb.quantize(64), {}),
        ("P.gif", rgb.quantize(64), {}),
        ("frames.gif", rgb.quantize(64), {"save_all": True, "append_images": [rgb.rotate(90).resize(rgb.size).quantize(64)]}),
        ("RGB.webp", rgb, {"lossless": True}),
        ("RGBA.webp", rgba, {"lossless": True, "exact": True}),
        ("RGBA.ico", rgba.resize((64, 64)), {"sizes": [(64, 64)]}),
    ]
    lossy = [
        ("baseline.jpeg", rgb, {"quality": 90}),
        ("low.jpeg", rgb, {"quality": 30}),
        ("progressive.jpeg", rgb, {"quality": 85, "progressive": True}),
        ("444.jpeg", rgb, {"quality": 90, "subsampling": 0}),
        ("422.jpeg", rgb, {"quality": 90, "subsampling": 1}),
        ("optimized.jpeg", rgb, {"quality": 75, "optimize": True}),
        ("restarts.jpeg", rgb, {"quality": 75, "restart_marker_blocks": 4}),
        ("L.jpeg", grey, {"quality": 90}),
        ("CMYK.jpeg", cmyk, {"quality": 90}),
        ("lossy.webp", rgb, {"quality": 80}),
        ("lossy-alpha.webp", rgba, {"quality": 80}),
        ("frames.webp", rgb, {"save_all": True, "append_images": [rgb.rotate(90).resize(rgb.size)], "duration": 100}),
        ("jpeg.tiff", grey, {"compression": "jpeg"}),
        ("jpeg-RGB.tiff", rgb, {"compression": "jpeg"}),
    ]
    for exact, made in ((True, lossless), (False, lossy)):
        for name, image, options in made:
            image.save(folder / name, **options)
            yield name, exact
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        for kind in ("jpeg", "webp", "png", "tiff"):
            options = {"tiffinfo": {274: orientation}} if kind == "tiff" else {"exif": exif}
            name = f"orientation-{orientation}.{kind}"
            rgb.save(folder / name, **options)
            yield name, kind in ("png", "tiff")


def decoded(path):
    image = ImageOps.exif_transpose(Image.open(path))
    if path.name.endswith(".bmp"):
        return image.convert("RGB")
    if image.mode == "P":
        opaque = "transparency" not in image.info and not path.name.endswith(".gif")
        return image.convert("RGB" if opaque else "RGBA")
    if image.mode in ("1", "CMYK", "RGBX"):
        return image.convert("L" if image.mode == "1" else "RGB")
    if path.name.endswith(".gif") or path.name == "frames.webp":
        return image.convert("RGBA")
    return image if image.mode in MODES else image.convert("RGB")


def raw(folder, name, image):
    (folder / name).write_bytes(image.tobytes())
    return {"raw": name, "mode": MODES[image.mode], "width": image.width, "height": image.height}


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    cases = [
        {"file": name, "exact": exact, **raw(folder, f"{name}.raw", decoded(folder / name))}
        for name, exact in files(folder)
    ]
    rgb = photo((317, 211))
    resizes = []
    for image in (rgb.convert("L"), with_alpha(rgb).convert("LA"), rgb, with_alpha(rgb)):
        source = raw(folder, f"{image.mode}.raw", image)
        for filter_name, number in FILTERS.items():
            for to in ((100, 64), (37, 211), (500, 400), (1, 1), (640, 50), (23, 17)):
                name = f"{image.mode}-{filter_name}-{to[0]}x{to[1]}.raw"
                (folder / name).write_bytes(image.resize(to, number).tobytes())
                resizes.append({**source, "filter": filter_name, "to": to, "result": name})
    (folder / "cases.json").write_text(json.dumps({"files": cases, "resizes": resizes}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
