"""A simulated fleet for demos and tests: model servers that are real on the wire, not inside.

The servers speak OpenAI's protocol over real sockets and run the real middleware; only the engine
behind them is a model of one (`engine.py`), and its faults are asked for (`faults.py`).
"""
