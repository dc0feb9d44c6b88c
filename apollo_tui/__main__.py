from apollo_tui.cli import main

main()
