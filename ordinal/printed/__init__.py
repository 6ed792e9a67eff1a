"""What commands print: tables for 80 columns, what they mean, and what to type next."""
