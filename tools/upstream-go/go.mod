module tidegate/tools/upstream-go

go 1.24
