"""The machine catalogue's prices, read anew from public price lists."""
