"""For accelerate launch: every rank is asked, and all of them save in the same step."""

import hashlib, os, signal, time

import torch
from accelerate import Accelerator

folder = os.environ["HOTDESK_CHECKPOINT"]
asked = []
signal.signal(signal.SIGUSR1, lambda *_: asked.append(1))
accelerator = Accelerator(cpu=True)
torch.manual_seed(7)
plain, step = torch.nn.Linear(8, 1), 0
model, optimizer = accelerator.prepare(plain, torch.optim.Adam(plain.parameters()))
for name in sorted(os.listdir(folder), reverse=True) if os.path.isdir(folder) else ():
    if name.startswith("step-"):
        accelerator.load_state(f"{folder}/{name}")
        step = int(name[5:])
        print("resumed at", step)
        break
while step < 60:
    seed = 100 * step + accelerator.process_index
    loss = model(torch.randn(16, 8, generator=torch.Generator().manual_seed(seed))).pow(2).mean()
    accelerator.backward(loss)
    optimizer.step()
    optimizer.zero_grad()
    step += 1
    print(f"rank {accelerator.process_index} step {step}")
    if accelerator.reduce(torch.tensor(float(len(asked)))) > 0:
        asked.clear()
        accelerator.save_state(f"{folder}/new")
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            os.replace(f"{folder}/new", f"{folder}/step-{step:06}")
            print("saved", step)
        accelerator.wait_for_everyone()
    time.sleep(0.1)
if accelerator.is_main_process:
    plain = accelerator.unwrap_model(model)
    print(
        "digest",
        hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in plain.parameters())).hexdigest(),
    )
accelerator.end_training()
