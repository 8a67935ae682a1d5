"""The one file of code of the small project, run by its DVC stages without any package but Python's own."""

MAKER = """
import hashlib, json, pathlib, random, struct, sys, zlib

def line(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":")) + "\\n"

def png(seed):
    rows = b"".join(b"\\0" + random.Random(f"{seed} {y}").randbytes(3 * 24) for y in range(24))
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    head = struct.pack(">IIBBBBB", 24, 24, 8, 2, 0, 0, 0)
    return b"\\x89PNG\\r\\n\\x1a\\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")

def clean(out):
    count = int(pathlib.Path("params.yaml").read_text().split("images: ")[1].split()[0])
    (out / "images").mkdir(parents=True)
    rows, log, before = [], [], "0" * 64
    for number in range(count):
        name, content = hashlib.md5(str(number).encode()).hexdigest(), png(number)
        (out / "images" / f"{name}.png").write_bytes(content)
        boxes = [{"bbox": [2.0, 3.0, 4.0, 5.0], "label": "NILM", "annotator": None, "redacted": 0.0}]
        rows.append({"image_id": name, "file": f"{name}.png", "sha256": hashlib.sha256(content).hexdigest(),
                     "width": 24, "height": 24, "mpp": 0.5, "patient": f"{number // 3:032x}", "slide": f"{number:032x}",
                     "source": "small", "organ": "cervix", "stain": "pap", "role": "field", "labelled": True,
                     "annotations": boxes})
        log.append(line({"event": "untouched", "image": name, "prev": before}))
        before = hashlib.sha256(log[-1].encode()).hexdigest()
    (out / "manifest.jsonl").write_text("".join(map(line, sorted(rows, key=lambda row: row["image_id"]))))
    (out / "audit.jsonl").write_text("".join(log))

def split(out):
    rows = map(json.loads, pathlib.Path("data/clean/manifest.jsonl").read_text().splitlines())
    part = lambda patient: ("train", "val", "test")[int(patient, 16) % 3]
    (out / "split.jsonl").write_text("".join(line({"image_id": row["image_id"], "patient": row["patient"],
        "group": row["patient"], "split": part(row["patient"])}) for row in rows))

def model(out):
    header, data = {}, b""
    for number in range(8):
        tensor = random.Random(number).randbytes(4 * 512)
        header[f"layer{number}.weight"] = {"dtype": "F32", "shape": [512],
                                           "data_offsets": [len(data), len(data) + len(tensor)]}
        data += tensor
    head = json.dumps(header).encode()
    files = {"weights.safetensors": struct.pack("<Q", len(head)) + head + data, "config.py": b"# small\\n"}
    for name, content in files.items():
        (out / name).write_bytes(content)
    card = {"name": "small", "files": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}}
    (out / "model_card.json").write_text(json.dumps(card, indent=2) + "\\n")

def metrics(out):
    (out / "classifier.json").write_text(json.dumps({"accuracy": 0.9, "per_class": {"HSIL": 0.8}}, indent=2) + "\\n")
    (out / "cases.jsonl").write_text("".join(line({"kind": "cell", "score": n / 40}) for n in range(40)))
    (out / "plots").mkdir(exist_ok=True)
    (out / "plots" / "roc.csv").write_text("x,y\\n" + "".join(f"{n / 20},{n / 30:.4f}\\n" for n in range(20)))

what = sys.argv[1]
place = {"clean": "data/clean", "split": "data/split", "model": "models/classifier", "metrics": "metrics"}[what]
pathlib.Path(place).mkdir(parents=True, exist_ok=True)
globals()[what](pathlib.Path(place))
"""
