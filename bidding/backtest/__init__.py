"""
What the offer builder would have earned: a walk through real prices, against a rule and against perfect foresight.

    prices, reserves, site_data ─▶ cases ─▶ walk ─▶ rows ─▶ summary ─▶ report, plots
       (files)                      forecast ─▶ Problem ─▶ strategy ─▶ Plan ─▶ day: clear, deliver, settle
                                                                      foresight: the bound

`python -m bidding.backtest --out bidding/backtest/BACKTEST.md` writes the page and its plots. Real are the prices, and
the statistics of reserve calls; the site is simulated, and so are the calls themselves.
"""
