"""What an hour of each GPU and a kilowatt-hour cost at a moment, and where each number came from. Pure.

`terms` holds what people write down (rent, purchase, electricity, overheads), `rate` what accrues from it,
`tariff` resolves the one to the other for a GPU at an instant, `calendar` knows months, `amortization` tells
what a year of owned hardware costs.
"""
