" Vim syntax file: nl, a language of nested learning systems. Copy editors/vim/* to ~/.vim/.
if exists("b:current_syntax") | finish | endif

syn keyword nlClause     learn state minimize emit report default level every with over in wrt keep from mean anchor frozen truncate
syn keyword nlDefinition use const fn block rule stream model schedule event
syn keyword nlControl    if else for when key
syn keyword nlSchedule   train test tick table repeat seeds on each batch lanes steps epochs shuffled until carry learning rows cols cells lower window anywhere
syn keyword nlOperator   and or not new at
syn keyword nlType       f32 f64 i32 i64 u32 u8 bool
syn keyword nlConstant   pi inf step t loss true false
syn keyword nlBuiltin    sum mean max min sq dot norm softmax normalize argmax cumsum concat xent exp log tanh sigmoid sqrt sin cos erf abs
syn keyword nlBuiltin    sign floor clamp relu gelu std where gather reshape flat stack ones zeros eye iota onehot tril triu rank outer
syn keyword nlBuiltin    given stop pool past total avg join chunks file csv idx npy text lines json tokens records mix
syn keyword nlDraw       normal uniform randint permutation
syn match   nlNumber     "\<\d\+\(\.\d\+\)\?\([eE][-+]\?\d\+\)\?%\?"
syn match   nlMove       "<-\|\~\|->"
syn region  nlString     start=+"+ skip=+\\"+ end=+"+ oneline
syn match   nlComment    "#.*$" contains=@Spell

hi def link nlClause     Statement
hi def link nlDefinition Structure
hi def link nlControl    Conditional
hi def link nlSchedule   Keyword
hi def link nlOperator   Operator
hi def link nlType       Type
hi def link nlConstant   Constant
hi def link nlBuiltin    Function
hi def link nlDraw       Function
hi def link nlNumber     Number
hi def link nlMove       Special
hi def link nlString     String
hi def link nlComment    Comment

let b:current_syntax = "nl"
