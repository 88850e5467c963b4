autocmd BufNewFile,BufRead *.nl setfiletype nl
