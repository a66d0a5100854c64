module tidegate/checks

go 1.26.0
