"""A region's long-lived process: redeems grants, has attempts run by an executor, keeps their deadlines, reports.

`loop` drives; `attempts` decides and does nothing; the modules beside them each do one thing. Running attempts
outlive this process: everything that a successor needs lies in `records`.
"""
