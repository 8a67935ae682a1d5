"""Write the page that people look at.  In: counts, samples, figures, model cards.  Out: reports/index.html.
Why: figures alone hide what the images, the mistakes and the data behind them show at a glance.
"""
