"""Reading photographs as the whole project does; see `gpstoken.files.pictures`."""

from gpstoken.files.pictures import ENDINGS, Member, read_picture, to_rgb

__all__ = ["EXTENSIONS", "Member", "read_rgb", "to_rgb"]

EXTENSIONS = ENDINGS
read_rgb = read_picture
