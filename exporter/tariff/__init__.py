"""Tariff: the price of each GPU and of a kilowatt-hour at an instant, with its source. Pure.

`terms` are the prices of the configuration, `rate` is what accrues, `tariff` resolves one to the other.
`catalogue` has list prices, `quotes` chooses one for a GPU, `calendar` has months and days.
"""
