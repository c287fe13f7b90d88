"""The packaged atlas: territories, groups, adequacy decisions and certification levels as dated data."""
