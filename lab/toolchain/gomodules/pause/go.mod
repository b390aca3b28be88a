module ebbtide.local/toolchain/pause

go 1.26
