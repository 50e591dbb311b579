"""Bar files of any known layout, read rightly or not at all: `reading` opens them, `layouts` knows them."""
