import hashlib, os, signal, time

import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

folder = os.environ["HOTDESK_CHECKPOINT"]
os.makedirs(folder, exist_ok=True)
asked = []
signal.signal(signal.SIGUSR1, lambda *_: asked.append(1))


class OnNotice(TrainerCallback):
    def on_train_begin(self, args, state, control, **more):
        if state.global_step:
            print("resumed at", state.global_step)

    def on_step_end(self, args, state, control, **more):
        print("step", state.global_step)
        control.should_save |= bool(asked)
        time.sleep(0.1)

    def on_save(self, args, state, control, **more):
        asked.clear()
        print("saved", state.global_step)


torch.manual_seed(7)
model = GPT2LMHeadModel(GPT2Config(vocab_size=50, n_positions=16, n_embd=16, n_layer=1, n_head=2))
rows = [
    {"input_ids": t, "labels": t}
    for t in torch.randint(50, (120, 16), generator=torch.Generator().manual_seed(1))
]
trainer = Trainer(
    model=model,
    args=TrainingArguments(
        output_dir=folder,
        per_device_train_batch_size=4,
        num_train_epochs=2,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        logging_strategy="no",
    ),
    train_dataset=rows,
    callbacks=[OnNotice()],
)
trainer.train(resume_from_checkpoint=get_last_checkpoint(folder))
print(
    "digest", hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in model.parameters())).hexdigest()
)
