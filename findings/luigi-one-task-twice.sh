#!/usr/bin/env bash
# luigi 3.8.1
#
# What: a FloatParameter takes Train(rate=1) from another task as 1 and `--rate 1` from the command line as
#   1.0. The two have different task ids, so that an output named after the task id is not found and the task
#   runs again. Within one program they are one task, under the id of whichever was made first.
# Why it matters: the task id is there to name outputs with. A model that a pipeline has trained is trained
#   once more when it is asked for by hand, and which of two files the next task reads depends on what ran
#   before it in the same program. Whole numbers in place of floats are what everybody writes.
# Expected: a FloatParameter makes a float of what it is given, or warns, as Parameter does of what is no
#   text.
# Seen:
#   a task that requires Train(rate=1): Train_1_1abe7a2176
#   Train --rate 1: Train_1_0_188519ba93
#   trained: 2 times
#   Train(rate=1) is Train(rate=1.0): True
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq luigi==3.8.1
cd "$work"
mkdir outputs
cat >pipeline.py <<'PY'
import luigi


class Train(luigi.Task):
    rate = luigi.FloatParameter()

    def output(self):
        return luigi.LocalTarget(f"outputs/{self.task_id}")

    def run(self):
        with self.output().open("w") as file:
            file.write("model")


class Pipeline(luigi.WrapperTask):
    def requires(self):
        return Train(rate=1)
PY
run() {
  PYTHONPATH=. "$work/venv/bin/luigi" --module pipeline "$@" --local-scheduler >>log 2>&1
  ls -t outputs | head -1
}
by_task=$(run Pipeline)
by_hand=$(run Train --rate 1)
times=$(ls outputs | wc -l)
same=$("$work/venv/bin/python" -c 'from pipeline import Train; print(Train(rate=1) is Train(rate=1.0))')
echo "a task that requires Train(rate=1): $by_task"
echo "Train --rate 1: $by_hand"
echo "trained: $times times"
echo "Train(rate=1) is Train(rate=1.0): $same"
! grep -i "float" log
[ "$by_task" != "$by_hand" ] && [ "$times" = 2 ] && [ "$same" = True ]
