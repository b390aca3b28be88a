"""The machine catalogue's prices, refreshed from public price lists."""
