"""Scripts and styles that pages of this package share, and how arrays reach them: `studio` serves them, reports and
notebooks embed a part of them."""
