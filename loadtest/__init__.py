"""Virtual customers and agents from a seeded schedule, driven through the real gateway."""
