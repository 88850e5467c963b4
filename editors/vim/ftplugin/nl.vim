" nl: four spaces, comments with #, `:make` checks the file.
if exists("b:did_ftplugin") | finish | endif
let b:did_ftplugin = 1
setlocal expandtab shiftwidth=4 softtabstop=4 textwidth=120
setlocal comments=:# commentstring=#\ %s
setlocal makeprg=nlc\ check\ %:S
setlocal errorformat=%f:%l:%c:\ %trror:\ %m,%f:%l:%c:\ %tarning:\ %m
let b:undo_ftplugin = "setlocal et< sw< sts< tw< com< cms< mp< efm<"
