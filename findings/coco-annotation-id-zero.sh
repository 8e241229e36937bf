#!/usr/bin/env bash
# pycocotools 2.0.11 (numpy 2.4.6)
#
# What: four objects, found exactly, have an average precision of 1.000 when the ids of the annotations are 1
#   to 4, and of 0.564 when they are 0 to 3. COCOeval keeps the id of the annotation that a detection matches,
#   and takes 0 for "none": the detection of annotation 0 is a false alarm. Nothing is said.
# Why it matters: enumerate() counts from 0, and no field of a COCO file says that an id may not be 0. The figure
#   that decides between two models is too low by the same bit each time, so that nothing looks wrong; for a
#   class of few objects it is a lot.
# Expected: an id is an id.
# Seen:
#   ids from 1: average precision 1.000, recall 1.000
#   ids from 0: average precision 0.564, recall 0.750
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq pycocotools==2.0.11 numpy==2.4.6
"$work/venv/bin/python" - <<'PY'
import contextlib
import io
import sys

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

seen = []
for first in (1, 0):
    box = {"category_id": 1, "bbox": [10, 10, 20, 20]}
    images = range(1, 5)
    truth = COCO()
    truth.dataset = {
        "info": {},
        "images": [{"id": image, "width": 100, "height": 100} for image in images],
        "categories": [{"id": 1, "name": "dog"}],
        "annotations": [
            {**box, "id": first + number, "image_id": image, "area": 400, "iscrowd": 0}
            for number, image in enumerate(images)
        ],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        found = truth.loadRes([{**box, "image_id": image, "score": 1 - image / 10} for image in images])
        scores = COCOeval(truth, found, "bbox")
        scores.evaluate()
        scores.accumulate()
        scores.summarize()
    said = f"average precision {scores.stats[0]:.3f}, recall {scores.stats[8]:.3f}"
    print(f"ids from {first}: {said}")
    seen.append(said)
sys.exit(seen != [f"average precision {both}" for both in ("1.000, recall 1.000", "0.564, recall 0.750")])
PY
