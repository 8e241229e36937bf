import hashlib, os, signal, time

import torch

folder = os.environ["HOTDESK_CHECKPOINT"]
os.makedirs(folder, exist_ok=True)
asked = []
signal.signal(signal.SIGUSR1, lambda *_: asked.append(1))
torch.manual_seed(7)
model, step = torch.nn.Linear(8, 1), 0
optimizer = torch.optim.Adam(model.parameters())
if os.path.exists(f"{folder}/last"):
    state = torch.load(f"{folder}/last")
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["generator"])
    step = state["step"]
    print("resumed at", step)
while step < 60:
    model(torch.randn(16, 8)).pow(2).mean().backward()
    optimizer.step()
    optimizer.zero_grad()
    step += 1
    print("step", step)
    if asked:
        asked.clear()
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
        torch.save({**state, "generator": torch.get_rng_state()}, f"{folder}/new")
        os.replace(f"{folder}/new", f"{folder}/last")
        print("saved", step)
    time.sleep(0.1)
print(
    "digest", hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in model.parameters())).hexdigest()
)
