"""The page: a door beside the command line, in a browser. It renders and asks, and computes nothing.

server.py     the requests that it answers, and how it starts and ends
guard.py      who may ask at all
links.py      the address that lets a browser in, once
live.py       what is seen of desks, the journal and this page's own verbs, told as it changes
verbs.py      what a click does: its plan, its line for the terminal, and the verb of `Hotdesk`
starting.py, sweep_start.py   a job and a sweep: their price before the click
asking.py, answering.py       the process that asks the clouds for the page, while somebody looks
questions.py, changes.py      what is only read; what is sent with a body and answered at once
amounts.py    money as its cloud tells it, in words
terminal.py   a desk's terminal, over a websocket
threads.py    calls that may take long
static/       the page itself, built from page/ by esbuild; static/LICENCES.txt says what is in it
"""
