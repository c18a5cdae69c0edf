"""What if: the measured load of some hours with another GPU type, commitment, schedule or hosted API. Pure.

`choices` reads what a flag says; `window` takes load and cost from ledgers. `gpu_type` (with `gpu_price`),
`commitment`, `schedule` and `hosted_offer` calculate an `outcome` each. `answer` sets them side by side, with
the break-even arithmetic of `finance.tco`; `text_report` and `json_report` write it.
"""
