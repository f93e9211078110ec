"""What several experiments ask after."""

CHAPTER = "the textbook chapter and lecture on backpropagation through time"
