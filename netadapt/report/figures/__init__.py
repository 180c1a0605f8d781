"""Pictures of a report: every function takes records and a layout and gives SVG markup."""
